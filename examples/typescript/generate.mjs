// Writes src/contract.ts, the interfaces, from the JSON Schemas of the contract: `npm run generate [-- FILE]`.
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { compile } from 'json-schema-to-typescript';

const SCHEMAS = new URL('../../arazzo/schemas/', import.meta.url);
const INTERFACES = process.argv[2] ?? new URL('src/contract.ts', import.meta.url);

/** The definitions of all schemas by their names; one that several schemas have is the same in each. */
async function readDefinitions() {
  const found = {};
  for (const file of (await readdir(SCHEMAS)).sort()) {
    const { $schema, $defs, ...schema } = JSON.parse(await readFile(new URL(file, SCHEMAS), 'utf8'));
    for (const [name, definition] of Object.entries({ ...$defs, [schema.title]: schema })) {
      if (found[name] && !isDeepStrictEqual(found[name], definition)) {
        throw new Error(`${file} has another ${name} than an earlier schema: give it a name of its own`);
      }
      found[name] = definition;
    }
  }
  return found;
}

/** Wrap each reference that has a description: the tool would make a second interface of it, `Summary1`. */
function wrapReferences(schema) {
  if (schema === null || typeof schema !== 'object') {
    return schema;
  }
  if (Array.isArray(schema)) {
    return schema.map(wrapReferences);
  }
  const { $ref, description } = schema;
  if ($ref) {
    return { allOf: [{ $ref }], description };
  }
  return Object.fromEntries(Object.entries(schema).map(([name, part]) => [name, wrapReferences(part)]));
}

const $defs = wrapReferences(await readDefinitions());
// Its type is any other text, with which TypeScript could not tell the results apart by their types.
delete $defs.OtherResult;
const { result } = $defs.ResultLine.properties;
result.anyOf = result.anyOf.filter(({ allOf }) => allOf[0].$ref !== '#/$defs/OtherResult');

const code = await compile({ $defs }, 'Contract', {
  additionalProperties: false,
  ignoreMinAndMaxItems: true,
  bannerComment: '// Generated from arazzo/schemas by `npm run generate`: change the models in Python, not this file.\n',
  style: { singleQuote: true, printWidth: 120 },
  unreachableDefinitions: true,
});
const tidy = code
  .replace(/( \*\n)? \* This interface was referenced by .*\n \* via the `definition` .*\n/g, '')
  .replace(/^export interface Contract \{\n.*\n\}\n/m, '');
await writeFile(INTERFACES, tidy);
