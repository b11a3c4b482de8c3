// The encryption of payloads, as docs/encryption.md has it: the same keys, settings and bytes as in Python. Copy this
// file and failure-converter.ts; they need Node's WebCrypto and the SDK, nothing else.
//
//     metadata  encoding           binary/encrypted
//               encryption-key-id  the id of the key
//     data      nonce (12 bytes), ciphertext of the payload as protobuf, tag (16 bytes)
//     AAD       binary/encrypted, a zero byte, the id of the key
import { readFileSync } from 'node:fs';
import type { DataConverter, Payload, PayloadCodec } from '@temporalio/common';
import { temporal } from '@temporalio/proto';

const PayloadMessage = temporal.api.common.v1.Payload;

const KEYS = 'MESSAGE_BATCHES_ENCRYPTION_KEYS';
const KEYS_FILE = 'MESSAGE_BATCHES_ENCRYPTION_KEYS_FILE';

const ENCODING = 'binary/encrypted';
const KEY_ID = 'encryption-key-id';
const NONCE_BYTES = 12;
const KEY_BYTES = 32;

/** A key for AES-256, and the id by which payloads name it. */
export interface EncryptionKey {
  id: string;
  secret: Uint8Array<ArrayBuffer>;
}

/** A payload is encrypted with a key that this process lacks, or was altered. */
export class CannotDecrypt extends Error {
  override readonly name = 'CannotDecrypt';
}

/**
 * Encrypts with the first key and decrypts with all; what is not encrypted is passed on as it is.
 *
 * Without a key it encrypts nothing, and names the key that an encrypted payload wants.
 */
export class EncryptionCodec implements PayloadCodec {
  private readonly ciphers = new Map<string, Promise<CryptoKey>>();
  private readonly keyId: string | undefined;

  constructor(keys: readonly EncryptionKey[] = []) {
    for (const { id, secret } of keys) {
      this.ciphers.set(id, crypto.subtle.importKey('raw', secret, 'AES-GCM', false, ['encrypt', 'decrypt']));
    }
    this.keyId = keys[0]?.id;
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    return Promise.all(payloads.map((payload) => this.encrypt(payload)));
  }

  async decode(payloads: Payload[]): Promise<Payload[]> {
    return Promise.all(payloads.map((payload) => this.decrypt(payload)));
  }

  private async encrypt(payload: Payload): Promise<Payload> {
    if (this.keyId === undefined) {
      return payload;
    }
    const keyId = encoded(this.keyId);
    const cipher = await this.ciphers.get(this.keyId)!;
    const iv = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const plain = Uint8Array.from(PayloadMessage.encode(payload).finish());
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData: aad(keyId) }, cipher, plain);
    const data = new Uint8Array(NONCE_BYTES + sealed.byteLength);
    data.set(iv);
    data.set(new Uint8Array(sealed), NONCE_BYTES);
    return { metadata: { encoding: encoded(ENCODING), [KEY_ID]: keyId }, data };
  }

  private async decrypt(payload: Payload): Promise<Payload> {
    const { metadata, data } = payload;
    if (decoded(metadata?.['encoding']) !== ENCODING) {
      return payload;
    }
    const keyId = Uint8Array.from(metadata?.[KEY_ID] ?? []);
    const named = decoded(keyId);
    const cipher = await this.ciphers.get(named);
    if (cipher === undefined) {
      const held = [...this.ciphers.keys()].join(', ') || 'none';
      throw new CannotDecrypt(
        `A payload is encrypted with key '${named.slice(0, 64)}', which this process does not hold (it holds: ` +
          `${held}). Add that key to ${KEYS_FILE} or ${KEYS} and start again`,
      );
    }
    const sealed = Uint8Array.from(data ?? []);
    const [iv, rest] = [sealed.slice(0, NONCE_BYTES), sealed.slice(NONCE_BYTES)];
    try {
      const plain = await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData: aad(keyId) }, cipher, rest);
      return PayloadMessage.decode(new Uint8Array(plain));
    } catch (cause) {
      throw new CannotDecrypt(
        `A payload names key '${named}', and the key held under that id does not open it: another key has the same id ` +
          'where it was written, or the payload was altered. Give this process the key that it was written with',
        { cause },
      );
    }
  }
}

/** The converter of a client or a worker, with the keys that the environment names; without any, nothing is encrypted. */
export function dataConverter(environment: NodeJS.ProcessEnv = process.env): DataConverter {
  const keys = encryptionKeys(environment);
  const payloadCodecs = [new EncryptionCodec(keys)];
  // Otherwise the messages of failures, and their stack traces, would be readable.
  return keys.length > 0
    ? { payloadCodecs, failureConverterPath: require.resolve('./failure-converter') }
    : { payloadCodecs };
}

/** The keys for payloads: the first encrypts, all decrypt; none if encryption is off. */
export function encryptionKeys(environment: NodeJS.ProcessEnv = process.env): EncryptionKey[] {
  const [file, written] = [environment[KEYS_FILE]?.trim(), environment[KEYS]?.trim()];
  if (file && written) {
    throw new Error(`${KEYS_FILE} and ${KEYS} are both set: set only one of them`);
  }
  const text = file ? keysFile(file) : written;
  try {
    return text === undefined || text === '' ? [] : readKeys(text);
  } catch (error) {
    throw new Error(`${file ? KEYS_FILE : KEYS} is not valid: ${(error as Error).message}`);
  }
}

/** Read `id:base64` entries, one a line or with commas between them; an error never has the text of a key. */
export function readKeys(text: string): EncryptionKey[] {
  const lines = text.split(/\r\n|[\n\r]/).filter((line) => !line.trimStart().startsWith('#'));
  const entries = lines.flatMap((line) => line.split(',')).map((entry) => entry.trim()).filter((entry) => entry);
  const keys = new Map<string, EncryptionKey>();
  for (const [index, entry] of entries.entries()) {
    const key = readKey(index + 1, entry);
    if (keys.has(key.id)) {
      throw new Error(`entry ${index + 1} has the id '${key.id}' of an earlier one: give each key an id of its own`);
    }
    keys.set(key.id, key);
  }
  if (keys.size === 0) {
    throw new Error('there is no key in it');
  }
  return [...keys.values()];
}

function readKey(number: number, entry: string): EncryptionKey {
  const colon = entry.indexOf(':');
  if (colon < 0) {
    throw new Error(`entry ${number} is not of the form id:base64`);
  }
  const [id, text] = [entry.slice(0, colon).trim(), entry.slice(colon + 1).trim()];
  if (!/^[A-Za-z0-9._-]{1,32}$/.test(id)) {
    throw new Error(
      `entry ${number} begins with no id: 1 to 32 letters, digits, '.', '_' or '-', then a colon`,
    );
  }
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    throw new Error(`entry ${number}, '${id}': what follows the colon is not base64`);
  }
  const secret = Uint8Array.from(Buffer.from(text, 'base64'));
  if (secret.length !== KEY_BYTES) {
    throw new Error(`entry ${number}, '${id}': the key has ${secret.length} bytes, ${KEY_BYTES} are needed`);
  }
  return { id, secret };
}

function keysFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(`${KEYS_FILE} is not valid: expected a file that can be read (${code})`);
  }
}

/** The additional authenticated data: if it is changed, decryption fails. */
function aad(keyId: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([...encoded(ENCODING), 0, ...keyId]);
}

function encoded(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(text));
}

function decoded(bytes: Uint8Array | null | undefined): string {
  return Buffer.from(bytes ?? []).toString();
}
