"""Patients a second of the fusion models: ours at batch 8 against the plain formulation one by one.

Forward and backward, without dropout, on an omic vector and bags of 4,000 x 1,024.

`python -m tests.speed.fusion_models [--runs 7] [--tokens 4000] [--threads 2] [--cpu]`
"""

from __future__ import annotations

import statistics
from functools import partial

import torch
from fusionbench_dsmil import Dsmil
from fusionbench_ilra import Ilra
from fusionbench_lmf import Lmf
from fusionbench_mbt import Mbt
from fusionbench_motcat import Motcat
from fusionbench_mult import Mult
from fusionbench_multimodn import MultiModN
from fusionbench_pathomic_fusion import PathomicFusion
from fusionbench_perceiver_io import PerceiverIo
from fusionbench_survpath import SurvPath
from fusionbench_tfn import Tfn

from fusionbench import Task
from tests.speed import made, plain_fusion
from tests.speed.timing import alternating, arguments, ratio

CHANNELS, CASES, GOAL = 1024, 8, 1.5
MODELS = {
    "tfn": (Tfn(Tfn.Options()), plain_fusion.tfn),
    "lmf": (Lmf(Lmf.Options()), plain_fusion.lmf),
    "mult": (Mult(Mult.Options()), plain_fusion.mult),
    "mbt": (Mbt(Mbt.Options()), plain_fusion.mbt),
    "perceiver-io": (PerceiverIo(PerceiverIo.Options()), plain_fusion.perceiver_io),
    "motcat": (Motcat(Motcat.Options()), plain_fusion.motcat),
    "survpath": (SurvPath(SurvPath.Options()), plain_fusion.survpath),
    "pathomic-fusion": (PathomicFusion(PathomicFusion.Options()), plain_fusion.pathomic),
    "multimodn": (MultiModN(MultiModN.Options()), plain_fusion.multimodn),
    "dsmil[fusion=concat]": (Dsmil(Dsmil.Options(fusion="concat")), plain_fusion.dsmil),
    "ilra[fusion=concat]": (Ilra(Ilra.Options(fusion="concat")), plain_fusion.ilra),
}


def main() -> None:
    args, clock = arguments(__doc__)
    of = made.specs(CHANNELS)
    singly = [made.batch(of, 1, args.tokens) for _ in range(CASES)]
    together = [made.batch(of, CASES, args.tokens)]
    print("| model | plain, one by one, patients/s | ours, batch 8 | times as fast | goal |\n|---|---|---|---|---|")
    for name, (model, formula) in MODELS.items():
        torch.manual_seed(0)
        net = model.build(Task(n_outputs=4), of).eval()
        ways = {
            "plain": partial(made.step, net, partial(formula, net), singly),
            "ours": partial(made.step, net, partial(made.logits, net), together),
        }
        seconds = alternating(ways, args.runs, clock)
        each = {way: CASES / statistics.median(times) for way, times in seconds.items()}
        times = ratio(seconds["plain"], seconds["ours"])
        print(f"| {name} | {each['plain']:.2f} | {each['ours']:.2f} | {times:.2f} | {GOAL} |", flush=True)


if __name__ == "__main__":
    main()
