// What a caller knows of the workflows: their names, their queue, and the JSON they take and return.

export const WORKFLOW_TYPE = 'batch-process-and-retrieve-results';
export const JOB_WORKFLOW_TYPE = 'message-batch-job';
export const TASK_QUEUE = 'message-batches';

export type * from './contract';
