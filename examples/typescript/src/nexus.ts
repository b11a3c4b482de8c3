// The service that callers in other namespaces, clusters and languages use; the worker in Python serves it.
import * as nexus from 'nexus-rpc';
import {
  BatchInput,
  BatchOutput,
  JOB_WORKFLOW_TYPE,
  JobInput,
  JobOutput,
  WORKFLOW_TYPE,
} from './message-batches';

export const messageBatches = nexus.service('message-batches', {
  batch: nexus.operation<BatchInput, BatchOutput>({ name: WORKFLOW_TYPE }),
  job: nexus.operation<JobInput, JobOutput>({ name: JOB_WORKFLOW_TYPE }),
});
