"""Training of the demo generator: a tri-plane network regressed on rendered heads whose latent is known.

data.py      shards of rendered heads -> crops and single pixels, decoded once and memory mapped
backdrop.py  the wall behind the head: where it is, and its colours as a function of six numbers of z
network.py   the network and how it grows
recipe.py    the stages
losses.py    truth along rays, and what the network is to match
loop.py      steps, state, resuming
state_files.py  a state as a file
report.py    figures and contact sheets of held-out heads
"""
