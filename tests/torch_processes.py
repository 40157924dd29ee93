"""One of two processes that train on halves of a batch: python torch_processes.py RANK STORE MODEL DATA OUT HOW."""

import sys
import warnings

import numpy as np
import torch
import torch.distributed as dist

from bnfold.torch import to_module

rank, store, model, data, out, how = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=2)
module = to_module(model).double().train()
if how == "synchronized":
    module.synchronize()
else:
    module.modes.eval()  # frozen: normalizes by its running statistics, and leaves them alone
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # DDP's own
    parallel = torch.nn.parallel.DistributedDataParallel(module)
optimizer = torch.optim.SGD(module.parameters(), 0.1)
images = torch.from_numpy(np.load(data)).double()
parallel(images[:5] if rank == "0" else images[5:]).square().mean().backward()
optimizer.step()
if rank == "0":
    torch.save(module.state_dict(), out)
dist.destroy_process_group()
