# 138 is a warning that came before Python could answer it
if [ $status -eq 75 ] || [ $status -eq 138 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 1000 ]; then
  for pause in 1 2 4 8 8 8 8 8 8 8; do  # the controller may be away for a moment
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}" && break
    sleep $pause
  done
fi
exit $status
