import sys, asyncio, warnings
warnings.simplefilter("ignore")
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tests.simulation.bugs import *
from tests.simulation.world import Parts, simulate
def one(seed):
    class H(Store):
        async def pending(self, limit):
            await asyncio.sleep(4.0)
            return await super().pending(limit)
    r = simulate(seed, Parts(store=H, faults=("failover",))).report
    return seed, dict((k, len(v)) for k, v in r.faults.items())
if __name__ == "__main__":
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        hits = [(s, k) for s, k in pool.map(one, range(40), chunksize=5) if k]
        print("control", len(hits), hits, flush=True)
