// The worker of the parent: `node lib/worker.js [--answers FOLDER]`.
// At SIGINT and SIGTERM it lets what is under way finish, and leaves.
import { parseArgs } from 'node:util';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { NativeConnection, Worker } from '@temporalio/worker';
import { answerFiles } from './activities';
import { dataConverter } from './codec';
import { unreachable } from './unreachable';

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { answers: { type: 'string', default: 'answers' } } });

  const { connectionOptions, namespace } = loadClientConnectConfig();
  const connection = await NativeConnection.connect(connectionOptions).catch(unreachable(connectionOptions.address));
  try {
    const worker = await Worker.create({
      connection,
      namespace,
      dataConverter: dataConverter(),
      taskQueue: 'questions-typescript',
      workflowsPath: require.resolve('./workflows'),
      activities: answerFiles(values.answers),
    });
    console.log('Worker ready: task queue questions-typescript');
    await worker.run();
  } finally {
    await connection.close();
  }
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exit(2); // by itself it would not end while the SDK holds a worker that did not start
});
