#!/usr/bin/env bash
# Measures everything at once where there is a GPU or TPU, in eight minutes at most, and leaves JSON in a folder.
#
#     tools/benchmarks/on_device.sh [OUT] [EG3D CHECKOUT] [ITS PYTHON]      default OUT: docs/on_device
#
# SMALL=1 rehearses it anywhere: the demo generator, few repetitions. A part that fails or takes too long leaves its
# message in OUT/NAME.log, and the next one goes on.
set -u
out=${1:-docs/on_device} peer=${2:-} peer_python=${3:-python}
python=${PYTHON:-python}
mkdir -p "$out"
if [ -n "${SMALL:-}" ]; then
  generator=() repeat=1
else
  generator=(--generator random:ffhq512-128) repeat=5
fi
beside=()
if [ -n "$peer" ]; then beside=(--peer "$peer" --peer_python "$peer_python"); fi

part() {  # NAME SECONDS COMMAND...
  local name=$1 seconds=$2
  shift 2
  printf '%-24s' "$name"
  local begun=$SECONDS
  if timeout "$seconds" "$@" >"$out/$name.log" 2>&1; then echo "$((SECONDS - begun)) s"; else echo "failed, see $out/$name.log"; fi
}

measure() {  # NAME SECONDS WHAT FLAGS...
  local name=$1 seconds=$2 what=$3
  shift 3
  part "$name" "$seconds" "$python" -m tools.benchmarks speed --measure "$what" --repeat $repeat --out "$out/$name" "$@"
}

part device 20 "$python" -c "import jax; print(jax.__version__, jax.devices())"
# With the optimisations that tests do without on a processor.
part parity 60 env JAX_DISABLE_MOST_OPTIMIZATIONS=0 "$python" -m pytest -n 0 -q tests/models/test_parity.py tests/rendering/test_accelerators.py
measure forward 45 forward "${generator[@]}" --precision bfloat16 "${beside[@]}"
measure step_1_view 60 tuning_step "${generator[@]}" --precision bfloat16 --views 0 "${beside[@]}"
measure step_3_views 60 tuning_step "${generator[@]}" --precision bfloat16 --views 2
measure step_float32 45 tuning_step "${generator[@]}" --views 0
measure render 30 render "${generator[@]}" --precision bfloat16
measure invert 90 invert --precision bfloat16
measure batch 70 batch --precision bfloat16 --batches 1,4
cat "$out"/*/*.json > /dev/null 2>&1 && ls "$out"/*/*.json
