// A parent workflow that has a message batch done by its child, the workflow in Python, which it starts by name.
import { ApplicationFailure, ChildWorkflowFailure, executeChild, workflowInfo } from '@temporalio/workflow';
import { BatchInput, BatchOutput, BatchRequest, ResultLine, TASK_QUEUE, WORKFLOW_TYPE } from './message-batches';

/** What the parent is asked; each question is a request of one batch, which is looked at every `cadence` seconds. */
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
  /** The results where they are too many to be carried from workflow to workflow: for an activity to read. */
  file?: string;
}

export async function answerQuestions({
  questions,
  model = 'claude-haiku-5',
  cadence = 30,
}: Questions): Promise<Answers> {
  const requests = questions.map((question, number) => request(number, question, model));
  let output: BatchOutput;
  try {
    output = await executeChild<(input: BatchInput) => Promise<BatchOutput>>(WORKFLOW_TYPE, {
      args: [{ requests, poll: { retryAfter: cadence } }],
      workflowId: `${workflowInfo().workflowId}-batch`,
      taskQueue: TASK_QUEUE,
      // By default the server would terminate the child with its parent, and the batch would go on and be billed.
      parentClosePolicy: 'REQUEST_CANCEL',
      // A parent that is cancelled ends when the batch has been stopped, not before.
      cancellationType: 'WAIT_CANCELLATION_COMPLETED',
      // A parent that is run again under its id must not buy the batch again: better that it fails.
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
  const tokens = Object.values(summary.tokens).reduce((sum, used) => sum + used.output, 0);
  const report = `${requestCounts.succeeded} of ${questions.length} answered in ${tokens} tokens`;
  if (results === null) {
    return { report: `${report}; ${resultsOmitted}`, answers: {}, unanswered: {}, file: resultsFile.uri };
  }
  return { report, ...compose(results) };
}

function request(number: number, question: string, model: string): BatchRequest {
  return {
    custom_id: `question-${number}`,
    params: { model, max_tokens: 1024, messages: [{ role: 'user', content: question }] },
  };
}

/** The answers, and why some are missing: that a batch has ended does not say it succeeded. */
function compose(results: ResultLine[]): Pick<Answers, 'answers' | 'unanswered'> {
  const answers: Record<string, string> = {};
  const unanswered: Record<string, string> = {};
  for (const { custom_id, result } of results) {
    switch (result.type) {
      case 'succeeded':
        answers[custom_id] = result.message.content.map((block) => block.text ?? '').join('');
        break;
      case 'errored':
        unanswered[custom_id] = `${result.error.error.type}: ${result.error.error.message}`;
        break;
      default:
        unanswered[custom_id] = result.type;
    }
  }
  return { answers, unanswered };
}
