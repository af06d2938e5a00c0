from .checkpoints import (
    load_rule as load_rule,
)
from .checkpoints import (
    start_from as start_from,
)
from .devices import (
    choose_device as choose_device,
)
from .files import (
    new_folder as new_folder,
)
from .parameters import (
    PROJECT_ROOT as PROJECT_ROOT,
)
from .parameters import (
    input_path as input_path,
)
from .parameters import (
    output_path as output_path,
)
from .parameters import (
    read_parameters as read_parameters,
)
from .progress import (
    Pace as Pace,
)
from .run import (
    Run as Run,
)
