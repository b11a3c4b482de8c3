"""The two HTML pages of the codec server."""

from collections.abc import Sequence
from html import escape

GUARDED = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    # Not `no-referrer`: with it the form would have the origin `null`, which a form of any page may have.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Headers against scripts, frames and caching."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Codec server</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem }}</style>
<h1>Codec server</h1>
{content}
</html>
"""

_FORM = """<form method="post" action="/login">
<p><label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label>
<button>Log in</button></p>
</form>
<p>The Web UI may have payloads decrypted for twelve hours then, in this browser.</p>"""


def login(problem: str = "") -> str:
    """Return a form that asks for the token, after a problem with the one before."""
    said = f"<p><strong>{escape(problem)}</strong></p>\n" if problem else ""
    return _PAGE.format(content=said + _FORM)


def logged_in(origins: Sequence[str]) -> str:
    """Return the page after a login, with links to the Web UI."""
    links = "".join(f'<li><a href="{escape(origin)}">{escape(origin)}</a>' for origin in origins)
    return _PAGE.format(content=f"<p>Logged in. The Web UI:</p>\n<ul>{links}</ul>")
