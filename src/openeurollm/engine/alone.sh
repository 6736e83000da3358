export OMP_NUM_THREADS=1
trap 'kill -USR1 $child' USR1  # the time limit is near: stop, and go on in another job
"${python[@]}" "${program[@]}" --workers "${SLURM_CPUS_PER_TASK:-1}" & child=$!
while wait $child; status=$?; kill -0 $child 2>/dev/null; do :; done
