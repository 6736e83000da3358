if [ $status -eq 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 1000 ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
fi
exit $status
