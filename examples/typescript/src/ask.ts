// Starts a parent and prints what it returns: `node lib/ask.js [--nexus ENDPOINT] [--cadence SECONDS] QUESTION...`
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Client, Connection, WorkflowFailedError } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { dataConverter } from './codec';
import { unreachable } from './unreachable';
import { answerQuestions, answerQuestionsOverNexus } from './workflows';

async function main(): Promise<void> {
  const { cadence, nexus: endpoint, questions } = asked();

  const { connectionOptions, namespace } = loadClientConnectConfig();
  const connection = await Connection.connect(connectionOptions).catch(unreachable(connectionOptions.address));
  try {
    const client = new Client({ connection, namespace, dataConverter: dataConverter() });
    const options = { workflowId: `questions-${randomUUID()}`, taskQueue: 'questions-typescript' };
    const parent = endpoint
      ? await client.workflow.start(answerQuestionsOverNexus, { args: [{ questions, cadence, endpoint }], ...options })
      : await client.workflow.start(answerQuestions, { args: [{ questions, cadence }], ...options });
    const id = parent.workflowId;
    console.error(`${id} is under way; \`temporal workflow cancel -w ${id}\` stops its batch, too`);
    console.log(JSON.stringify(await parent.result(), null, 2));
  } finally {
    await connection.close();
  }
}

function asked(): { cadence: number; nexus?: string; questions: string[] } {
  const { values, positionals: questions } = parseArgs({
    options: { cadence: { type: 'string', default: '30' }, nexus: { type: 'string' } },
    allowPositionals: true,
  });
  const cadence = Number(values.cadence);
  if (!(cadence > 0 && cadence < Infinity)) {
    throw new Error(`--cadence is a number of seconds above 0, not ${values.cadence}`);
  }
  if (questions.length === 0) {
    throw new Error('ask.js [--nexus ENDPOINT] [--cadence SECONDS] QUESTION...');
  }
  return { cadence, nexus: values.nexus, questions };
}

/** What a failure began with: around it are only those of the workflows that it went through. */
function firstCause(error: Error): Error {
  return error.cause instanceof Error ? firstCause(error.cause) : error;
}

main().catch((error: Error) => {
  if (error instanceof WorkflowFailedError) {
    console.error(`The parent ended without answers: ${firstCause(error).message}`);
    process.exitCode = 1;
  } else {
    console.error(error.message);
    process.exitCode = 2;
  }
});
