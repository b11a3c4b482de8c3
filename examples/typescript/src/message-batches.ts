// What a caller knows of the workflow: its name, its queue, and the JSON it takes and returns.

export const WORKFLOW_TYPE = 'batch-process-and-retrieve-results';
export const JOB_WORKFLOW_TYPE = 'message-batch-job';
export const TASK_QUEUE = 'message-batches';

/** `requests`, or `requestsUri`, or `batchId`; durations are in seconds. */
export interface BatchInput {
  /** The name of a key that the worker holds, never a key. */
  apiKey?: string;
  anthropicVersion?: string;
  anthropicBeta?: string[];
  /** At most 512 KiB. */
  requests?: BatchRequest[];
  /** A JSONL file of such requests in the worker's store. */
  requestsUri?: string;
  /** Take over a batch that exists. */
  batchId?: string;
  /** Whether the output has the parsed results where they are small; by default it has. */
  inlineResults?: boolean;
  /** Whether a batch that an earlier run of the workflow id has created for the same requests is taken over. */
  takeOver?: boolean;
  poll?: PollSchedule;
  submission?: SubmissionSchedule;
  storeId?: string;
  /** Delete the batch at the provider once its results are landed and verified. */
  deleteAfterLanding?: boolean;
  /** The most that the requests may cost, in US dollars, by the estimate; above it nothing is sent. */
  maxCost?: number | string;
  /**
   * A time with its zone, as `2026-11-28T06:00:00+01:00`: what has not finished by then is canceled, the rest landed;
   * later nothing is sent.
   */
  deadline?: string;
  /** What Temporal was given under these names, to be shown in the Web UI even after a run has continued as new. */
  staticSummary?: string;
  staticDetails?: string;
}

export interface BatchRequest {
  custom_id: string;
  /** What the Messages API takes. */
  params: Record<string, unknown>;
}

export interface PollSchedule {
  retryAfter?: number;
  retryLimit?: number;
  transient?: RetrySchedule;
}

export interface RetrySchedule {
  retryAfter?: number;
  retryLimit?: number;
}

export interface SubmissionSchedule {
  timeout?: number;
  quietPeriod?: number;
}

export interface BatchOutput {
  batchId: string;
  requestCounts: RequestCounts;
  resultsUrl: string | null;
  /** In the order of the requests; null where they are more than 256 KiB. */
  results: ResultLine[] | null;
  /** Why `results` is null. */
  resultsOmitted: string | null;
  /** All results, however many, in the worker's store. */
  resultsFile: ResultsFile;
  verified: boolean;
  possiblyPaidTwice: string[];
  paidTwiceUnchecked: string | null;
  /** As the input asked; where it could not be done, why. */
  deleted: boolean;
  notDeleted: string | null;
  /** The requests that the deadline has left without a result of their own; null where there are none. */
  unfinished: Unfinished | null;
  summary: Summary;
  /** Null for results that an older version landed. */
  cost: Cost | null;
}

/** How many, and the first three. */
export interface Unfinished {
  count: number;
  customIds: string[];
}

export interface RequestCounts {
  processing: number;
  succeeded: number;
  errored: number;
  canceled: number;
  expired: number;
}

export interface ResultLine {
  custom_id: string;
  result:
    | { type: 'succeeded'; message: { content: ContentBlock[] } }
    | { type: 'errored'; error: { error: { type: string; message: string } } }
    | { type: 'canceled' }
    | { type: 'expired' };
}

export interface ContentBlock {
  type: string;
  /** Of the blocks of type `text`. */
  text?: string;
}

export interface ResultsFile {
  uri: string;
  bytes: number;
  lines: number;
  sha256: string;
}

export interface Summary {
  counts: ResultCounts;
  errors: ErrorGroup[];
  /** How many succeeded and are whole; null for results that an older version landed. */
  usable: number | null;
  stopReasons: StopReason[];
  usage: ModelUsage[];
  /** The first three of the canceled and the expired. */
  unanswered: string[];
}

export interface ResultCounts {
  succeeded: number;
  errored: number;
  canceled: number;
  expired: number;
}

export interface ErrorGroup {
  type: string;
  count: number;
  message: string;
  customIds: string[];
}

export interface StopReason {
  reason: string;
  category: string | null;
  count: number;
  usable: boolean;
  customIds: string[];
}

export interface ModelUsage {
  model: string;
  inferenceGeo: string | null;
  longContext: boolean;
  requests: number;
  input: number;
  output: number;
  cacheWrite5m: number;
  cacheWrite1h: number;
  cacheRead: number;
  webSearches: number;
  webFetches: number;
}

/** By the list of prices; decimal numbers as text, in `currency`. */
export interface Cost {
  currency: string;
  amount: string | null;
  byModel: Record<string, string>;
  standardAmount: string | null;
  partial: boolean;
  unpriced: string[];
  prices: PriceSource;
}

export interface PriceSource {
  version: string;
  date: string;
  own: string[];
}

/** Requests of any number: `requests`, or `requestsUri`, or `base`; durations are in seconds. */
export interface JobInput {
  /** The name of a key that the worker holds, never a key. */
  apiKey?: string;
  anthropicVersion?: string;
  anthropicBeta?: string[];
  /** At most 512 KiB. */
  requests?: BatchRequest[];
  /** A JSONL file of such requests in the worker's store, of any size. */
  requestsUri?: string;
  /** Of each shard. */
  poll?: PollSchedule;
  submission?: SubmissionSchedule;
  storeId?: string;
  deleteAfterLanding?: boolean;
  /** The most that all waves may cost, in US dollars; above it the next one is not sent. */
  maxCost?: number | string;
  /** Nothing is started after this time, in ISO format with a zone; what has finished is landed. */
  deadline?: string;
  staticSummary?: string;
  staticDetails?: string;
  /** The limits of each batch. */
  shards?: ShardLimits;
  /** Batches under way at once: 8, at most 100. */
  concurrency?: number;
  retries?: Retries;
  /** The workflow id of a run or a job that has landed: only what failed there is sent. */
  base?: string;
}

export interface ShardLimits {
  maxRequests?: number;
  maxBytes?: number;
}

/** The waves after the first one: each sends again what has failed so far. */
export interface Retries {
  waves?: number;
  what?: 'errors' | 'unusable';
  /** For `unusable`: the limit that replies get which were cut off at a lower one. */
  maxTokens?: number | null;
}

export interface JobOutput {
  /** In the order of the requests: the last answer of each. */
  resultsFile: ResultsFile;
  shards: ShardList;
  summary: Summary;
  cost: Cost | null;
  verified: boolean;
  /** The requests without a result. */
  unfinished: Unfinished | null;
  possiblyPaidTwice: string[];
  waves: JobWave[];
  /** The first twenty of them. */
  failedShards: FailedShard[];
  failedShardCount: number;
  /** Why no further wave was sent although one was due. */
  stopped: string | null;
}

export interface ShardList {
  count: number;
  uri: string;
}

export interface JobWave {
  number: number;
  shards: number;
  sent: number;
  landed: number;
  usable: number;
}

export interface FailedShard {
  wave: number;
  number: number;
  workflowId: string;
  type: string;
  message: string;
  action: string | null;
  batchId: string | null;
  candidates: string[];
}
