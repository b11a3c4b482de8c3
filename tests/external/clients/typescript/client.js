// The six operations of the official client in TypeScript, in one of its namespaces; prints the answers as one line of JSON.
import Anthropic from '@anthropic-ai/sdk';

const sdk = new Anthropic({ maxRetries: 0 });
const namespace = process.argv[2];
const batches = namespace === 'beta.messages' ? sdk.beta.messages.batches : sdk.messages.batches;

const request = (custom_id, params = {}) => ({
  custom_id,
  params: {
    model: 'claude-sonnet-5',
    max_tokens: 256,
    messages: [{ role: 'user', content: 'Why is the sky blue?' }],
    ...params,
  },
});
const schema = { type: 'object', properties: { count: { type: 'integer', minimum: 3 } }, required: ['count'] };
const forced = { tools: [{ name: 'record', input_schema: schema }], tool_choice: { type: 'tool', name: 'record' } };

const made = await batches.create({
  requests: [request('text'), request('tool', forced), request('wrong', { model: 'claude-haiku-5' })],
});
const seen = await batches.retrieve(made.id);
const results = {};
for await (const { custom_id, result } of await batches.results(made.id)) {
  results[custom_id] = result.type === 'succeeded' ? result.message.content[0] : result.error.error;
}

// In another workspace, which the list of this one does not show.
const elsewhere = { headers: { 'anthropic-workspace-id': 'wrkspc_b' } };
const other = await batches.create({ requests: [request('text')] }, elsewhere);
const listed = [];
for await (const batch of batches.list({ limit: 1 })) listed.push(batch.id);
const refused = await batches.cancel(made.id).catch((error) => ({ status: error.status, type: error.type }));
const deleted = await batches.delete(made.id);
const gone = await batches.retrieve(made.id).catch((error) => error.status);
const models = [];
for await (const model of sdk.models.list({ limit: 5 })) models.push(model.id);

console.log(
  JSON.stringify({
    status: seen.processing_status,
    counts: seen.request_counts,
    results,
    other: other.id !== made.id,
    listed: listed.length === 1 && listed[0] === made.id,
    refused,
    deleted: deleted.type,
    gone,
    models: models.length,
  }),
);
