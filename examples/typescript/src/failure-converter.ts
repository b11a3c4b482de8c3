// What encryption needs besides the codec: failures whose messages and stack traces are payloads, too.
import { DefaultFailureConverter } from '@temporalio/common';

export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
