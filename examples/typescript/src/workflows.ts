// A parent workflow that has a message batch done by its child, the workflow in Python, which it starts by name.
import {
  ApplicationFailure,
  ChildWorkflowFailure,
  executeChild,
  proxyActivities,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import type { answerFiles } from './activities';
import { BatchInput, BatchOutput, BatchRequest, ResultLine, TASK_QUEUE, WORKFLOW_TYPE } from './message-batches';
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

export async function answerQuestions({
  questions,
  model = 'claude-haiku-5-5',
  cadence = 30,
}: Questions): Promise<Answers> {
  // Ids that no other program on the same key has: batches are told apart by them.
  const sender = uuid4().slice(0, 8);
  const requests = questions.map((question, number) => request(`${sender}-question-${number}`, question, model));
  let output: BatchOutput;
  try {
    output = await executeChild<(input: BatchInput) => Promise<BatchOutput>>(WORKFLOW_TYPE, {
      args: [{ requests, poll: { retryAfter: cadence } }],
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
    const cause = error instanceof ChildWorkflowFailure ? error.cause : undefined;
    if (cause instanceof ApplicationFailure && cause.type === 'InvalidRequests') {
      return { report: `Nothing was sent. ${cause.message}`, answers: {}, unanswered: {} };
    }
    throw error; // another failure, or the cancellation: not for this workflow to decide
  }

  const { requestCounts, summary, results, resultsOmitted, resultsFile } = output;
  const tokens = summary.usage.reduce((sum, used) => sum + used.output, 0);
  const report = `${requestCounts.succeeded} of ${questions.length} answered in ${tokens} tokens`;
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
