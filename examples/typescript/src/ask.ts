// Starts the parent and prints what it returns: `node lib/ask.js [--cadence SECONDS] QUESTION...`
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { answerQuestions } from './workflows';

async function main(): Promise<void> {
  const { values, positionals: questions } = parseArgs({
    options: { cadence: { type: 'string', default: '30' } },
    allowPositionals: true,
  });

  const { connectionOptions, namespace } = loadClientConnectConfig();
  const connection = await Connection.connect(connectionOptions);
  try {
    const client = new Client({ connection, namespace });
    const parent = await client.workflow.start(answerQuestions, {
      args: [{ questions, cadence: Number(values.cadence) }],
      workflowId: `questions-${randomUUID()}`,
      taskQueue: 'questions-typescript',
    });
    const id = parent.workflowId;
    console.error(`${id} is under way; \`temporal workflow cancel -w ${id}\` stops its batch, too`);
    console.log(JSON.stringify(await parent.result(), null, 2));
  } finally {
    await connection.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
