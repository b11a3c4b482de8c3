// Generated from arazzo/schemas by `npm run generate`: change the models in Python, not this file.

/**
 * The next step for an operator after a failure: data, so that each caller can word it for its users.
 *
 * The workflow's failures name the first three, errors of `message_batches.runs` any of them.
 */
export type NextAction =
  | 'attach'
  | 'checkBatches'
  | 'storeRequests'
  | 'attachWithRequests'
  | 'landAgain'
  | 'startWorker'
  | 'checkRun'
  | 'repeatStart'
  | 'repeatAgain'
  | 'mergeSoFar'
  | 'retry'
  | 'watch'
  | 'listRuns'
  | 'registerSearchAttributes'
  | 'giveBetas';
/**
 * The events.
 */
export type EventType =
  | 'batch.submitted'
  | 'batch.undecided'
  | 'batch.needs_attention'
  | 'batch.landed'
  | 'batch.failed'
  | 'batch.canceled'
  | 'job.submitted'
  | 'job.needs_attention'
  | 'job.landed'
  | 'job.failed'
  | 'job.canceled';
/**
 * Which requests are sent again after a wave.
 */
export type RetryKind = 'errors' | 'unusable';
/**
 * The phase of a job.
 */
export type JobPhase = 'planning' | 'running' | 'paused' | 'merging' | 'landed' | 'failed' | 'canceled';
/**
 * The phase of a run; SUBMITTING, POLLING and RETRIEVING are the document's steps.
 */
export type Phase =
  'preparing' | 'submitting' | 'undecided' | 'polling' | 'retrieving' | 'landed' | 'failed' | 'canceled';

/**
 * A request of the batch.
 */
export interface BatchRequest {
  /**
   * Unique among the requests; names the request in the results.
   */
  custom_id: string;
  /**
   * The body of a Messages call.
   */
  params: {
    [k: string]: unknown;
  };
}
/**
 * A signal to a workflow in the same namespace, which a run sends it when the run has ended.
 */
export interface NotifySignal {
  /**
   * Of the workflow that is signaled.
   */
  workflowId: string;
  /**
   * Its name there; its argument is an `Event`.
   */
  signal: string;
}
/**
 * Arazzo `retryAfter` and `retryLimit` of the polling step, as given at the run's start.
 */
export interface PollSchedule {
  retryAfter?: number;
  retryLimit?: number;
  transient?: RetrySchedule;
}
/**
 * Arazzo `retryAfter` and `retryLimit` for transient errors: 429, 5xx, no connection.
 */
export interface RetrySchedule {
  retryAfter?: number;
  retryLimit?: number;
}
/**
 * The time that a POST may take, and that the list is polled after a lost reply before another POST.
 */
export interface SubmissionSchedule {
  timeout?: number;
  quietPeriod?: number;
}
/**
 * The input of a run: `requests`, `requestsUri`, or `batchId` (alone, or with the requests that it holds).
 */
export interface BatchInput {
  /**
   * The name of a key that the worker holds, never a key.
   */
  apiKey?: string;
  anthropicVersion?: string;
  /**
   * Sent as the `anthropic-beta` header when a batch is created.
   *
   * @maxItems 32
   */
  anthropicBeta?: string[];
  /**
   * The items `{custom_id, params}`, at most 512 KiB encoded.
   */
  requests?: BatchRequest[] | null;
  /**
   * A JSONL file of such items in the worker's store.
   */
  requestsUri?: string | null;
  /**
   * The time zone in which `{date}` and the like in `requestsUri` are the time that the run was scheduled for; without it, they are text.
   */
  requestsUriZone?: string | null;
  /**
   * How long the file of `requestsUri` is waited for; by default it has to be there.
   */
  waitForRequests?: number | null;
  poll?: PollSchedule;
  submission?: SubmissionSchedule;
  /**
   * The store that `requestsUri` is in, if the caller knows it.
   */
  storeId?: string | null;
  /**
   * Delete a batch at the provider once its results are landed and verified.
   */
  deleteAfterLanding?: boolean;
  /**
   * The most, in USD, that the requests may cost by the estimate; above it nothing is sent.
   */
  maxCost?: number | string | null;
  /**
   * When a batch that has not ended is canceled, and what has finished is landed; later nothing is sent.
   */
  deadline?: string | null;
  /**
   * The names of webhooks that the worker has, which are told of the events.
   *
   * @maxItems 10
   */
  notify?: string[];
  /**
   * The workflow that is signaled at the end.
   */
  notifySignal?: NotifySignal | null;
  /**
   * The line and the markdown that the caller also gave Temporal under these names for the Web UI: they vanish when a long run continues as new, and are then shown in its current details.
   */
  staticSummary?: string | null;
  /**
   * The line and the markdown that the caller also gave Temporal under these names for the Web UI: they vanish when a long run continues as new, and are then shown in its current details.
   */
  staticDetails?: string | null;
  /**
   * An existing batch to attach to.
   */
  batchId?: string | null;
  /**
   * Whether the output has the parsed results where they are small; their file is there in any case.
   */
  inlineResults?: boolean;
  /**
   * Whether a batch that an earlier run of the same workflow id has created for the same requests is this run's, instead of another one.
   */
  takeOver?: boolean;
}
/**
 * Why a request has failed.
 */
export interface ApiError {
  type: string;
  message: string;
}
/**
 * A part of a reply; other types than `text` have fields of their own.
 */
export interface ContentBlock {
  type: string;
  /**
   * Of the blocks of type `text`.
   */
  text?: string;
}
/**
 * What results cost, by the list of prices: an invoice may differ.
 */
export interface Cost {
  currency: string;
  /**
   * At the price of batches; null if no model has a price.
   */
  amount: string | null;
  /**
   * The same for each model that has a price.
   */
  byModel: {
    [k: string]: string;
  };
  /**
   * At the price without the discount for batches.
   */
  standardAmount: string | null;
  /**
   * `amount` lacks the usage of the models in `unpriced`.
   */
  partial: boolean;
  unpriced: string[];
  prices: PriceSource;
}
/**
 * Where prices are from: the version of the list, and the day for which they hold.
 */
export interface PriceSource {
  version: string;
  date: string;
  /**
   * Models that have prices of the operator's own, from MESSAGE_BATCHES_PRICES.
   */
  own: string[];
}
/**
 * The errored results of one type and message: numbers and ids in it may differ. The first, and three custom_ids.
 *
 * Past twenty groups, one takes the further messages of its type, and names one of them.
 */
export interface ErrorGroup {
  type: string;
  count: number;
  message: string;
  customIds: string[];
}
/**
 * The API's error around its cause.
 */
export interface ErrorReply {
  error: ApiError;
}
/**
 * A request that has failed.
 */
export interface ErroredResult {
  type: 'errored';
  error: ErrorReply;
}
/**
 * What is billed of the results that have one price: tokens by kind, and calls of the provider's tools.
 */
export interface ModelUsage {
  /**
   * As the results name it; `unknown` for replies that do not say what they used, `other` for all beyond fifty of these.
   */
  model: string;
  /**
   * Where the model ran, as the results say; null where they do not.
   */
  inferenceGeo: string | null;
  /**
   * Each of these requests is over the input tokens from which the model's price is higher.
   */
  longContext: boolean;
  requests: number;
  /**
   * Tokens neither written to a cache nor read from one.
   */
  input: number;
  output: number;
  /**
   * Tokens written to a cache for five minutes; `cacheWrite1h` for an hour.
   */
  cacheWrite5m: number;
  cacheWrite1h: number;
  cacheRead: number;
  webSearches: number;
  webFetches: number;
}
/**
 * A reply of the model, as far as it is described here.
 */
export interface ReplyMessage {
  content: ContentBlock[];
  /**
   * That has written it.
   */
  model?: string;
  /**
   * Why it ended: `end_turn`, `max_tokens`, `refusal`, ...
   */
  stop_reason?: string | null;
}
/**
 * Requests by state; all are `processing` until the whole batch has ended.
 */
export interface RequestCounts {
  processing: number;
  succeeded: number;
  errored: number;
  canceled: number;
  expired: number;
}
/**
 * The number of results of each type.
 */
export interface ResultCounts {
  succeeded: number;
  errored: number;
  canceled: number;
  expired: number;
}
/**
 * A line of a results file, as the API has written it.
 */
export interface ResultLine {
  custom_id: string;
  result: SucceededResult | ErroredResult | UnansweredResult;
}
/**
 * A request with a reply.
 */
export interface SucceededResult {
  type: 'succeeded';
  message: ReplyMessage;
}
/**
 * A request that was not processed: its batch was canceled, or has expired.
 */
export interface UnansweredResult {
  type: 'canceled' | 'expired';
}
/**
 * The landed results: JSONL in the order of the requests, every line byte for byte as received.
 */
export interface ResultsFile {
  uri: string;
  bytes: number;
  lines: number;
  sha256: string;
}
/**
 * The succeeded results that ended for one reason, with the first three custom_ids.
 */
export interface StopReason {
  /**
   * As the API gives it; `none` where it gives none, `other` for all beyond twenty.
   */
  reason: string;
  /**
   * Of a refusal, where the API names one.
   */
  category: string | null;
  count: number;
  /**
   * Whether the reply is whole: it ended by itself, by a tool call or at a stop sequence.
   */
  usable: boolean;
  customIds: string[];
}
/**
 * A summary of results, of a bounded size.
 */
export interface Summary {
  counts: ResultCounts;
  /**
   * How many succeeded and are whole; null for results that an older version has landed.
   */
  usable: number | null;
  /**
   * Why the succeeded results ended, most frequent first.
   */
  stopReasons: StopReason[];
  /**
   * By type and message, most frequent first.
   */
  errors: ErrorGroup[];
  /**
   * What is billed, by model, geography and long context.
   */
  usage: ModelUsage[];
  /**
   * The first three custom_ids of the canceled and the expired.
   */
  unanswered: string[];
}
/**
 * Requests without a result of their own: how many, and the first three in the order of the requests.
 */
export interface Unfinished {
  count: number;
  customIds: string[];
}
/**
 * The output of a run: the document's outputs, then the landed results.
 */
export interface BatchOutput {
  batchId: string;
  requestCounts: RequestCounts;
  resultsUrl: string | null;
  results: ResultLine[] | null;
  resultsOmitted: string | null;
  resultsFile: ResultsFile;
  verified: boolean;
  /**
   * Batches that match ours after a second POST; normally empty.
   */
  possiblyPaidTwice: string[];
  /**
   * Why the list could not be searched for them; normally null.
   */
  paidTwiceUnchecked: string | null;
  /**
   * The batch was deleted at the provider, as the input requested.
   */
  deleted: boolean;
  /**
   * Why it was not, although the input requested it; normally null.
   */
  notDeleted: string | null;
  /**
   * The requests that the deadline has left without a result of their own; null if there are none.
   */
  unfinished: Unfinished | null;
  summary: Summary;
  /**
   * By the list of prices, when the results landed; an invoice may differ.
   */
  cost: Cost | null;
}
/**
 * What results cost, by the list of prices.
 */
export interface EventCost {
  currency: string;
  /**
   * Null if no model has a price.
   */
  amount: string | null;
  /**
   * The amount lacks usage of models without a price.
   */
  partial: boolean;
}
/**
 * What an event says of its run or job; a field that does not apply is left out of the body.
 */
export interface EventData {
  namespace: string;
  workflowId: string;
  /**
   * Of the run that began the chain.
   */
  runId: string;
  /**
   * Of a run, once it is known; a failed one's remains at the provider.
   */
  batchId?: string | null;
  /**
   * Their number, once it is known.
   */
  requests?: number | null;
  /**
   * Why it needs attention: a `BatchStatus`.
   */
  reason?: string | null;
  /**
   * The batches that may be the run's, while that is not decided.
   */
  candidates?: string[] | null;
  /**
   * A `BatchOutcome`, or the type of the failure.
   */
  outcome?: string | null;
  /**
   * After a failure, the next step for an operator.
   */
  action?: NextAction | null;
  /**
   * The results by type; `usable` of those that succeeded are whole.
   */
  counts?: ResultCounts | null;
  usable?: number | null;
  /**
   * How many requests a deadline or a stop has left without a result.
   */
  unfinished?: number | null;
  cost?: EventCost | null;
  /**
   * The place of the results in the store.
   */
  resultsFile?: ResultsFile | null;
  verified?: boolean | null;
  /**
   * Batches that match the run's after a second POST.
   */
  possiblyPaidTwice?: string[] | null;
  /**
   * Of a job's first wave.
   */
  shards?: number | null;
  /**
   * Those of a job that have no results.
   */
  failedShards?: number | null;
}
/**
 * An event: the body of a webhook, and the argument of a `notifySignal`.
 */
export interface Event {
  type: EventType;
  timestamp: string;
  data: EventData;
}
/**
 * The first detail of a run's `ApplicationError`: the batch, as far as it is known, and the next step.
 */
export interface FailureDetails {
  /**
   * The next step for an operator, null if there is none beyond the message.
   */
  action: NextAction | null;
  /**
   * The batch that remains at the provider.
   */
  batchId: string | null;
  /**
   * Batches that may be the run's, if that was never decided.
   */
  candidates: string[];
  /**
   * Batches that match the run's after a second POST; normally empty.
   */
  possiblyPaidTwice: string[];
  /**
   * What the requests may cost, in USD; null where that is not known, or was not the reason.
   */
  estimate: string | null;
  /**
   * The most that they may cost, in USD; null where that was not the reason.
   */
  limit: string | null;
}
/**
 * The waves after the first one: each sends again what has failed so far.
 */
export interface Retries {
  /**
   * How many there are at most.
   */
  waves?: number;
  /**
   * Which requests.
   */
  what?: RetryKind;
  /**
   * The limit that replies get which were cut off at a lower one; needed for `unusable`.
   */
  maxTokens?: number | null;
}
/**
 * The limits of one shard: those of a batch, or lower ones.
 */
export interface ShardLimits {
  maxRequests?: number;
  maxBytes?: number;
}
/**
 * The input of a job: `requests` or `requestsUri` of any size, or `base` alone.
 */
export interface JobInput {
  /**
   * The name of a key that the worker holds, never a key.
   */
  apiKey?: string;
  anthropicVersion?: string;
  /**
   * Sent as the `anthropic-beta` header when a batch is created.
   *
   * @maxItems 32
   */
  anthropicBeta?: string[];
  /**
   * The items `{custom_id, params}`, at most 512 KiB encoded.
   */
  requests?: BatchRequest[] | null;
  /**
   * A JSONL file of such items in the worker's store.
   */
  requestsUri?: string | null;
  /**
   * The time zone in which `{date}` and the like in `requestsUri` are the time that the run was scheduled for; without it, they are text.
   */
  requestsUriZone?: string | null;
  /**
   * How long the file of `requestsUri` is waited for; by default it has to be there.
   */
  waitForRequests?: number | null;
  poll?: PollSchedule;
  submission?: SubmissionSchedule;
  /**
   * The store that `requestsUri` is in, if the caller knows it.
   */
  storeId?: string | null;
  /**
   * Delete a batch at the provider once its results are landed and verified.
   */
  deleteAfterLanding?: boolean;
  /**
   * The most, in USD, that the requests may cost by the estimate; above it nothing is sent.
   */
  maxCost?: number | string | null;
  /**
   * When a batch that has not ended is canceled, and what has finished is landed; later nothing is sent.
   */
  deadline?: string | null;
  /**
   * The names of webhooks that the worker has, which are told of the events.
   *
   * @maxItems 10
   */
  notify?: string[];
  /**
   * The workflow that is signaled at the end.
   */
  notifySignal?: NotifySignal | null;
  /**
   * The line and the markdown that the caller also gave Temporal under these names for the Web UI: they vanish when a long run continues as new, and are then shown in its current details.
   */
  staticSummary?: string | null;
  /**
   * The line and the markdown that the caller also gave Temporal under these names for the Web UI: they vanish when a long run continues as new, and are then shown in its current details.
   */
  staticDetails?: string | null;
  /**
   * The limits of each batch.
   */
  shards?: ShardLimits;
  /**
   * How many batches are under way at once.
   */
  concurrency?: number;
  /**
   * The waves after the first one.
   */
  retries?: Retries;
  /**
   * The workflow id of a run or a job whose results are the starting point: only what failed there is sent.
   */
  base?: string | null;
}
/**
 * A shard without results, and the next step for an operator.
 */
export interface FailedShard {
  wave: number;
  number: number;
  /**
   * Of its run; `number` counts from 0 within the wave.
   */
  workflowId: string;
  /**
   * Of the run's failure.
   */
  type: string;
  /**
   * Of the run's failure.
   */
  message: string;
  action: NextAction | null;
  /**
   * The batch that remains at the provider.
   */
  batchId: string | null;
  /**
   * Batches that may be the shard's, if that was never decided.
   */
  candidates: string[];
}
/**
 * A wave: requests that are sent at one time, in shards of one batch each.
 */
export interface JobWave {
  /**
   * 0 for the first, which sends all requests.
   */
  number: number;
  /**
   * Into how many batches they are split.
   */
  shards: number;
  /**
   * The number of requests.
   */
  sent: number;
  /**
   * How many of the shards have landed.
   */
  landed: number;
  /**
   * How many of the landed requests have a reply that is whole.
   */
  usable: number;
}
/**
 * The shards of a job: how many there are, and the JSONL file in the store with a `ShardRecord` for each.
 */
export interface ShardList {
  count: number;
  uri: string;
}
/**
 * The output of a job.
 */
export interface JobOutput {
  /**
   * One line for each request that has a result, in the order of the requests: the last that it got, where a reply is replaced by another reply only.
   */
  resultsFile: ResultsFile;
  /**
   * Those whose results are in it.
   */
  shards: ShardList;
  /**
   * Of the lines of the file.
   */
  summary: Summary;
  /**
   * Of all waves, replies that a later one has replaced included.
   */
  cost: Cost | null;
  /**
   * The file has each custom_id of the requests exactly once.
   */
  verified: boolean;
  /**
   * The requests that are not in the file; null if all are.
   */
  unfinished: Unfinished | null;
  /**
   * As the runs of the shards report them.
   */
  possiblyPaidTwice: string[];
  /**
   * What each has sent, and what came back.
   */
  waves: JobWave[];
  /**
   * Up to twenty of the shards without results, each with its failure.
   */
  failedShards: FailedShard[];
  failedShardCount: number;
  /**
   * Why no further wave was sent although requests had failed; null if none was due.
   */
  stopped: string | null;
}
/**
 * The answer to a job's `progress` query.
 */
export interface JobProgress {
  phase: JobPhase;
  /**
   * The number of all requests, once they are planned.
   */
  requests: number | null;
  /**
   * Those so far.
   */
  waves: JobWave[];
  /**
   * The workflow ids of the shards that are under way.
   */
  alive: string[];
  /**
   * As in the output.
   */
  failedShards: FailedShard[];
  failedShardCount: number;
  /**
   * Why nothing new is started; null if the job is not paused.
   */
  paused: string | null;
  pausedSince: string | null;
  /**
   * What the job waits for now, besides its shards.
   */
  waitingFor: string | null;
  /**
   * Of the shards that have landed so far, in USD; null as long as it is not known.
   */
  cost: string | null;
  /**
   * The job was asked to stop: it lands what has finished.
   */
  stopping: boolean;
  /**
   * Of the job's input.
   */
  deadline: string | null;
  unreadFields: string[];
}
/**
 * Requests by state; a state without any is left out.
 */
export interface PresentCounts {
  processing?: number;
  succeeded?: number;
  errored?: number;
  canceled?: number;
  expired?: number;
}
/**
 * A batch as the API describes it: never its requests, names or metadata.
 *
 * The last four are set by the client and the store, not by the API: what a history has is not to be read otherwise
 * by a later version.
 */
export interface MessageBatch {
  id: string;
  processing_status: string;
  request_counts: PresentCounts;
  created_at: string;
  expires_at: string;
  ended_at?: string | null;
  cancel_initiated_at?: string | null;
  archived_at?: string | null;
  results_url?: string | null;
  /**
   * The API's own word, where `processing_status` is `ended` instead of that.
   */
  reported_status?: string | null;
  /**
   * Whether `processing_status` is not one of the API's reference, and nothing says that it has ended.
   */
  unknown_status?: boolean | null;
  /**
   * Whether the API no longer has the batch, and the store has its results.
   */
  from_store?: boolean | null;
  /**
   * Names the server that its results come from, if that is not the one of all keys.
   */
  server?: string | null;
}
/**
 * A batch that may be the run's after a lost reply: newer than the anchor, of the same count, unclaimed.
 */
export interface Candidate {
  batchId: string;
  createdAt: string;
  processingStatus: string;
  /**
   * Why its results, once it has ended, have not told whether it is; null while they have not been read.
   */
  doubt: string | null;
}
/**
 * The answer to the `progress` query.
 */
export interface Progress {
  phase: Phase;
  batchId: string | null;
  processingStatus: string | null;
  requestCounts: RequestCounts | null;
  /**
   * `processingStatus` is not one that is known here, and nothing shows that the batch has ended.
   */
  unknownStatus: boolean;
  /**
   * The number of polls that found the batch unfinished, over the whole chain of runs.
   */
  polls: number;
  /**
   * The time of the next poll, null if none is scheduled.
   */
  nextPoll: string | null;
  expiresAt: string | null;
  /**
   * When the batch ended, as the API says, which a batch of an unknown status may be without results.
   */
  endedAt: string | null;
  /**
   * When the API last described the batch.
   */
  lastSeen: string | null;
  /**
   * Of the first of the 404s that the API gives for the batch now, null while it finds it.
   */
  notFoundSince: string | null;
  /**
   * How many of these polls have got.
   */
  notFound: number;
  /**
   * How many times the requests were sent.
   */
  posts: number;
  /**
   * One sentence on the submission, until its outcome is known.
   */
  submission: string | null;
  /**
   * What the run waits for now, other than the next poll.
   */
  waitingFor: string | null;
  /**
   * Batches that may be the run's, while that is undecided.
   */
  candidates: Candidate[];
  cancelRequested: boolean;
  /**
   * Of the run's input.
   */
  deadline: string | null;
  /**
   * The batch was canceled because its deadline had come.
   */
  canceledAtDeadline: boolean;
  /**
   * The fields of the run's input that the worker's version does not know.
   */
  unreadFields: string[];
}
/**
 * The argument of the `resolveSubmission` update: exactly one of the two fields.
 */
export interface Resolution {
  adopt?: string | null;
  submitAgain?: boolean;
}
/**
 * A landed shard, as the store keeps it: its run, its batch, and its results.
 */
export interface ShardRecord {
  wave: number;
  number: number;
  workflowId: string;
  batchId: string;
  requests: number;
  resultsFile: ResultsFile;
  summary: Summary;
  cost: Cost | null;
  /**
   * As in the run's output.
   */
  possiblyPaidTwice: string[];
}
