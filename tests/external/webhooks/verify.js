// Verifies one webhook, given as JSON of headers and body on standard input, with the secret in WEBHOOK_SECRET.

import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';

const { headers, body } = JSON.parse(readFileSync(0, 'utf8'));
const event = new Webhook(process.env.WEBHOOK_SECRET).verify(body, headers);
console.log(JSON.stringify(event));
