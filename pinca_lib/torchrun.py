"""One training on many devices: torchrun, whose script is a notebook.

    python -m pinca_lib.torchrun --nproc-per-node 2 notebooks/02_pi_nca.ipynb out.ipynb -p seed 1

What precedes the notebook are options of torchrun, what follows it is as for papermill. Each
process runs the notebook; that of the first process is kept as ``out.ipynb``. If a process dies,
torchrun ends the others.
"""

import logging
import os
import sys
import tempfile
from pathlib import Path

from pinca_lib.errors import first_line, shown

DEAD_KERNEL = 138  # exit code of papermill if the notebook's kernel died
ADDRESSES = ("nnodes", "rdzv_endpoint", "master_addr", "master_port", "node_rank")


def launch(arguments: list[str]) -> None:
    """Start the processes, and end with a line if one of them dies."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options = run.parse_args(arguments)
    options.training_script_args = [options.training_script, *options.training_script_args]
    options.training_script, options.module = "pinca_lib.torchrun", True
    defaults = run.get_args_parser().parse_args(["script"])
    # On one machine any free port will do, so that two trainings do not meet.
    options.standalone |= all(getattr(options, k) == getattr(defaults, k) for k in ADDRESSES)
    try:
        processes = run.determine_local_world_size(options.nproc_per_node)
    except ValueError as error:  # no GPU, say
        sys.exit(f"--nproc-per-node {options.nproc_per_node}: {first_line(error)}")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    if os.name == "nt":  # PyTorch for Windows is built without libuv
        os.environ.setdefault("USE_LIBUV", "0")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run.run(options)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        died = failure.exitcode in (DEAD_KERNEL, -9)
        sys.exit(
            f"process {rank} {'was killed; is memory short?' if died else 'failed'}, so all were "
            "ended; a run that has begun goes on from its newest checkpoint with -p resume latest"
        )
    except SignalException:
        sys.exit("stopped; a run that has begun goes on with -p resume latest")


def run_notebook(arguments: list[str]) -> None:
    """Run the notebook in this process, as papermill does."""
    import papermill
    from papermill.cli import papermill as command

    rank = int(os.environ["RANK"])
    context = command.make_context("papermill", arguments)
    with tempfile.TemporaryDirectory() as folder:
        if rank:
            context.params |= {
                "output_path": str(Path(folder, "out.ipynb")),
                "progress_bar": False,
                "log_level": "ERROR",
            }
        try:
            command.invoke(context)
        except papermill.PapermillExecutionError as error:
            sys.exit(f"process {rank}: {error.ename}: {shown(error.evalue, 300)}")
        except KeyboardInterrupt:
            sys.exit(1)


if __name__ == "__main__":
    (run_notebook if "TORCHELASTIC_RUN_ID" in os.environ else launch)(sys.argv[1:])
