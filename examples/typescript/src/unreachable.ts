// What both commands say where there is no Temporal server.

export function unreachable(address = 'localhost:7233'): (cause: unknown) => never {
  return (cause) => {
    const remedy = 'Start one (`temporal server start-dev`) or set TEMPORAL_ADDRESS.';
    throw new Error(`No Temporal server answers at ${address}. ${remedy}`, { cause });
  };
}
