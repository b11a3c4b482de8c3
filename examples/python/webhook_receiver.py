"""Receives webhooks and prints those that are signed with WEBHOOK_SECRET: `webhook_receiver.py 8088`."""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to an event, 401 to what is none."""

    def do_POST(self) -> None:
        """Verify the signature, which also refuses what is older than five minutes."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            print(Webhook(os.environ["WEBHOOK_SECRET"]).verify(body, dict(self.headers)), flush=True)
            self.send_response(204)
        except WebhookVerificationError:
            self.send_response(401)
        self.end_headers()


print(f"listening on 127.0.0.1:{sys.argv[1]}", flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
