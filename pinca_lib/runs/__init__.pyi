from .checkpoints import (
    load_rule as load_rule,
    load_rules as load_rules,
    start_from as start_from,
)
from .devices import (
    choose_device as choose_device,
)
from .ensemble import (
    load_ensemble as load_ensemble,
)
from .files import (
    new_folder as new_folder,
)
from .parameters import (
    PROJECT_ROOT as PROJECT_ROOT,
    input_path as input_path,
    output_path as output_path,
    read_parameters as read_parameters,
)
from .progress import (
    Pace as Pace,
)
from .run import (
    Run as Run,
)
from .sweep import (
    Task as Task,
    connect as connect,
    sweep_tables as sweep_tables,
    sweep_tasks as sweep_tasks,
)
