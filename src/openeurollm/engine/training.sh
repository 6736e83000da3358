export MASTER_ADDR=$(hostname) MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
rm -f "$stop" "$over"
trap 'touch "$stop"' USR1  # the time limit is near: save a checkpoint, and go on in another job
for attempt in 1 2 3; do
  srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    /bin/sh -c 'PET_NODE_RANK=$SLURM_NODEID; export PET_NODE_RANK; exec "$@"' node \
    "${python[@]}" -m torch.distributed.run --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="$processes" \
    --master-addr="$MASTER_ADDR" --master-port="$MASTER_PORT" \
    "${program[@]}" --workers $((${SLURM_CPUS_PER_TASK:-1} / processes)) & child=$!
  while wait $child; status=$?; kill -0 $child 2>/dev/null; do :; done
  if [ -e "$stop" ]; then status=75; fi
  if [ $status -eq 0 ] || [ $status -eq 75 ] || [ -e "$over" ]; then break; fi
done
