from . import (
    automaton as automaton,
)
from . import (
    channels as channels,
)
from . import (
    cities as cities,
)
from . import (
    datasets as datasets,
)
from . import (
    errors as errors,
)
from . import (
    evaluation as evaluation,
)
from . import (
    physics as physics,
)
from . import (
    plotting as plotting,
)
from . import (
    rollouts as rollouts,
)
from . import (
    runs as runs,
)
from . import (
    training as training,
)
from . import (
    viewer as viewer,
)
from .automaton import (
    CA as CA,
)
from .channels import (
    fresh_states as fresh_states,
)
from .datasets import (
    WindDataset as WindDataset,
)
from .datasets import (
    list_cases as list_cases,
)
from .datasets import (
    load_case as load_case,
)
from .datasets import (
    load_dataset as load_dataset,
)
from .datasets import (
    read_half_averages as read_half_averages,
)
from .errors import (
    InputError as InputError,
)
from .evaluation import (
    ScaledPhysicsMetrics as ScaledPhysicsMetrics,
)
from .evaluation import (
    doubts as doubts,
)
from .evaluation import (
    healing_errors as healing_errors,
)
from .physics import (
    PhysicsLoss as PhysicsLoss,
)
from .plotting import (
    draw_film as draw_film,
)
from .plotting import (
    rollout_frames as rollout_frames,
)
from .plotting import (
    write_film as write_film,
)
from .rollouts import (
    rollout as rollout,
)
from .runs import (
    PROJECT_ROOT as PROJECT_ROOT,
)
from .runs import (
    Run as Run,
)
from .runs import (
    choose_device as choose_device,
)
from .runs import (
    input_path as input_path,
)
from .runs import (
    load_rule as load_rule,
)
from .runs import (
    new_folder as new_folder,
)
from .runs import (
    output_path as output_path,
)
from .runs import (
    read_parameters as read_parameters,
)
from .runs import (
    start_from as start_from,
)
from .training import (
    InitLoss as InitLoss,
)
from .training import (
    PILoss as PILoss,
)
from .training import (
    SamplePool as SamplePool,
)
from .training import (
    Training as Training,
)
from .training import (
    channel_units as channel_units,
)
from .training import (
    seed_everything as seed_everything,
)
from .viewer import (
    RolloutViewer as RolloutViewer,
)

__version__: str
