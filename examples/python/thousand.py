# A thousand questions in one batch: needs message-batches[library], a Temporal server and a worker of this project.
import asyncio

from message_batches import BatchRuns


async def _main() -> None:
    asked = [[{"role": "user", "content": f"Is {n} a prime number? Answer yes or no."}] for n in range(1000)]
    params = [{"model": "claude-haiku-5-5", "max_tokens": 64, "messages": messages} for messages in asked]
    run = await BatchRuns().start({"custom_id": f"n-{n}", "params": each} for n, each in enumerate(params))
    async for result in run.results():
        print(result.custom_id, result.outcome, result.text)


asyncio.run(_main())
