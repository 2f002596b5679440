// graphile-worker as a contestant: `node worker.mjs install|work URL`; tells how far it is in the file that
// BENCH_PROGRESS names: two little-endian numbers of 64 bits, jobs and the monotonic nanoseconds of the first.
import { openSync, writeSync } from "node:fs";
import { Logger, run, runMigrations } from "graphile-worker";

const [verb, connectionString] = process.argv.slice(2);
const logger = new Logger(() => (level, message) => level === "error" && console.error(message));

if (verb === "install") {
  await runMigrations({ connectionString, logger });
} else {
  const file = openSync(process.env.BENCH_PROGRESS, "r+");
  const progress = new BigUint64Array(2);
  let handled = 0;
  let told = 0;
  setInterval(() => {
    if (handled === told) return;
    told = handled;
    progress[0] = BigInt(handled);
    writeSync(file, new Uint8Array(progress.buffer), 0, 16, 0);
  }, 2);
  const noop = () => {
    if (handled === 0) progress[1] = process.hrtime.bigint();
    handled += 1;
  };
  const runner = await run({
    logger,
    noHandleSignals: true,
    taskList: { noop },
    preset: {
      worker: {
        connectionString,
        concurrentJobs: 24,
        maxPoolSize: 10,
        pollInterval: 1000,
        completeJobBatchDelay: 50,
        failJobBatchDelay: 50,
        localQueue: { size: 500 },
      },
    },
  });
  await runner.promise;
}
