// The activity that reads results too large to pass through a workflow.
import { createReadStream } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ApplicationFailure, activityInfo } from '@temporalio/activity';
import type { ResultLine } from './message-batches';
import { outcome } from './results';

/** Writes answers to a folder, as a caller of its own would write them to its database. */
export function answerFiles(folder: string) {
  return {
    /** Read a batch's results from the store and write the outcomes to a JSONL file; its URI. */
    async writeAnswers(resultsUri: string): Promise<string> {
      if (!resultsUri.startsWith('file:')) {
        throw ApplicationFailure.nonRetryable(
          `This example reads file:// only; for ${resultsUri}, use the client of that store.`,
          'UnreadableStore',
        );
      }
      await mkdir(folder, { recursive: true });
      // Named by the run: another attempt writes the same again.
      const path = resolve(folder, `${activityInfo().workflowExecution?.runId}.jsonl`);
      const answers = await open(path, 'w');
      try {
        for await (const line of lines(fileURLToPath(resultsUri))) {
          await answers.write(`${JSON.stringify(outcome(JSON.parse(line) as ResultLine))}\n`);
        }
      } finally {
        await answers.close();
      }
      return pathToFileURL(path).href;
    },
  };
}

/** One at a time, since the file may be hundreds of megabytes; newer versions of node:readline cut at U+2028, too. */
async function* lines(path: string): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of createReadStream(path, 'utf8')) {
    const [first, ...more] = (chunk as string).split('\n');
    rest += first;
    for (const next of more) {
      yield rest;
      rest = next;
    }
  }
  if (rest) {
    yield rest;
  }
}
