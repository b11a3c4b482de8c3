// Workflows that have a message batch done by the workflow in Python: by a child that one starts by name, or over Nexus.
import {
  ApplicationFailure,
  TemporalFailure,
  createNexusServiceClient,
  executeChild,
  proxyActivities,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import type { answerFiles } from './activities';
import { BatchInput, BatchOutput, BatchRequest, ResultLine, TASK_QUEUE, WORKFLOW_TYPE } from './message-batches';
import { messageBatches } from './nexus';
import { outcome } from './results';

const { writeAnswers } = proxyActivities<ReturnType<typeof answerFiles>>({
  startToCloseTimeout: '10 minutes',
  retry: { maximumAttempts: 3 },
});

/** What the parent is asked; each question is a request of one batch, which is polled every `cadence` seconds. */
export interface Questions {
  questions: string[];
  model?: string;
  cadence?: number;
}

/** What the parent makes of the results. */
export interface Answers {
  /** How it went, in a sentence. */
  report: string;
  /** The answers by custom_id. */
  answers: Record<string, string>;
  /** Why there is none, by custom_id. */
  unanswered: Record<string, string>;
  /** Where both are instead, a JSON line each, if they are too large to be carried from workflow to workflow. */
  file?: string;
}

/** What a caller over Nexus is asked. */
export interface QuestionsOverNexus extends Questions {
  /** The endpoint that leads to the worker in Python. */
  endpoint: string;
}

export async function answerQuestions(asked: Questions): Promise<Answers> {
  let output: BatchOutput;
  try {
    output = await executeChild<(input: BatchInput) => Promise<BatchOutput>>(WORKFLOW_TYPE, {
      args: [batchOf(asked)],
      workflowId: `${workflowInfo().workflowId}-batch`,
      taskQueue: TASK_QUEUE,
      // By default the server would terminate the child with its parent, and the batch would continue and be billed.
      parentClosePolicy: 'REQUEST_CANCEL',
      // A parent that is cancelled ends when the batch has been stopped, not before.
      cancellationType: 'WAIT_CANCELLATION_COMPLETED',
      // A parent that is run again under its id must not submit (and pay for) the batch again: better that it fails.
      workflowIdReusePolicy: 'REJECT_DUPLICATE',
    });
  } catch (error) {
    return refused(error);
  }
  return await answersIn(output);
}

/** The same over Nexus, for a parent in another namespace. */
export async function answerQuestionsOverNexus({ endpoint, ...asked }: QuestionsOverNexus): Promise<Answers> {
  const batches = createNexusServiceClient({ service: messageBatches, endpoint });
  let output: BatchOutput;
  try {
    // A caller that is cancelled ends when its batch has been stopped. One that is terminated leaves it to run.
    output = await batches.executeOperation(messageBatches.operations.batch, batchOf(asked), {
      cancellationType: 'WAIT_CANCELLATION_COMPLETED',
    });
  } catch (error) {
    return refused(error);
  }
  return await answersIn(output);
}

function batchOf({ questions, model = 'claude-haiku-5-5', cadence = 30 }: Questions): BatchInput {
  // Ids that no other program on the same key has: batches are told apart by them.
  const sender = uuid4().slice(0, 8);
  const requests = questions.map((question, number) => request(`${sender}-question-${number}`, question, model));
  return { requests, poll: { retryAfter: cadence } };
}

/** What is reported where nothing was sent; another failure, or the cancellation, is not for a workflow to decide. */
function refused(error: unknown): Answers {
  // The failure of a child or of an operation, around that of the run.
  const cause = error instanceof TemporalFailure ? error.cause : undefined;
  if (cause instanceof ApplicationFailure && cause.type === 'InvalidRequests') {
    return { report: `Nothing was sent. ${cause.message}`, answers: {}, unanswered: {} };
  }
  throw error;
}

async function answersIn(output: BatchOutput): Promise<Answers> {
  const { summary, results, resultsOmitted, resultsFile } = output;
  const tokens = summary.usage.reduce((sum, used) => sum + used.output, 0);
  const report = `${summary.counts.succeeded} of ${resultsFile.lines} answered in ${tokens} tokens`;
  if (results === null) {
    const file = await writeAnswers(resultsFile.uri);
    return { report: `${report}; ${resultsOmitted}`, answers: {}, unanswered: {}, file };
  }
  return { report, ...compose(results) };
}

function request(custom_id: string, question: string, model: string): BatchRequest {
  return {
    custom_id,
    params: { model, max_tokens: 1024, messages: [{ role: 'user', content: question }] },
  };
}

/** The answers in the result lines, and why some are missing. */
function compose(results: ResultLine[]): Pick<Answers, 'answers' | 'unanswered'> {
  const answers: Record<string, string> = {};
  const unanswered: Record<string, string> = {};
  for (const found of results.map(outcome)) {
    if ('answer' in found) {
      answers[found.custom_id] = found.answer;
    } else {
      unanswered[found.custom_id] = found.unanswered;
    }
  }
  return { answers, unanswered };
}
