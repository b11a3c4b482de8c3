// What the parent makes of result lines, in its workflow and in its activity.
import type { ResultLine } from './message-batches';

/** An answer, or why there is none: that a batch has ended does not say it succeeded. */
export type Outcome = { custom_id: string; answer: string } | { custom_id: string; unanswered: string };

export function outcome({ custom_id, result }: ResultLine): Outcome {
  switch (result.type) {
    case 'succeeded':
      return { custom_id, answer: result.message.content.map((block) => block.text ?? '').join('') };
    case 'errored':
      return { custom_id, unanswered: `${result.error.error.type}: ${result.error.error.message}` };
    default:
      return { custom_id, unanswered: result.type };
  }
}
