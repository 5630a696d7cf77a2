#!/bin/bash
# Eight minutes of training on a machine with a GPU that has nothing but this repository, JAX for its GPU, a pack of
# heads (tools/training/pack.py) and the averaged weights of the training so far (average.npz beside its state):
#
#     tools/training/on_gpu.sh PACK_DIR AVERAGE.npz OUT_DIR [HOURS]
#
# What it leaves in OUT_DIR/average.npz is what the next run begins with, and what a training elsewhere takes by --init.
set -e
python3 -m tools.train_demo_generator --data "$1" --init "$2" --out "$3" --hours "${4:-0.12}" --batch 8 --report_minutes 3
