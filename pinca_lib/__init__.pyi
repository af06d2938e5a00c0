from . import (
    automaton as automaton,
    channels as channels,
    cities as cities,
    comfort as comfort,
    datasets as datasets,
    errors as errors,
    evaluation as evaluation,
    physics as physics,
    plotting as plotting,
    rollouts as rollouts,
    runs as runs,
    training as training,
    viewer as viewer,
)
from .automaton import (
    CA as CA,
)
from .channels import (
    fresh_states as fresh_states,
)
from .cities import (
    load_city as load_city,
    predict_wind as predict_wind,
)
from .comfort import (
    CRITERIA as CRITERIA,
    classify as classify,
    load_climate as load_climate,
)
from .datasets import (
    WindDataset as WindDataset,
    list_cases as list_cases,
    load_case as load_case,
    load_dataset as load_dataset,
    read_half_averages as read_half_averages,
)
from .errors import (
    InputError as InputError,
    InputWarning as InputWarning,
)
from .evaluation import (
    ScaledPhysicsMetrics as ScaledPhysicsMetrics,
    doubts as doubts,
    healing_errors as healing_errors,
    unlike_training as unlike_training,
)
from .physics import (
    PhysicsLoss as PhysicsLoss,
)
from .plotting import (
    draw_film as draw_film,
    write_film as write_film,
)
from .rollouts import (
    rollout as rollout,
    rollout_frames as rollout_frames,
)
from .runs import (
    PROJECT_ROOT as PROJECT_ROOT,
    Run as Run,
    choose_device as choose_device,
    input_path as input_path,
    load_ensemble as load_ensemble,
    load_rule as load_rule,
    load_rules as load_rules,
    new_folder as new_folder,
    output_path as output_path,
    read_parameters as read_parameters,
    start_from as start_from,
)
from .training import (
    InitLoss as InitLoss,
    PILoss as PILoss,
    SamplePool as SamplePool,
    SamplePools as SamplePools,
    Training as Training,
    channel_units as channel_units,
    seed_everything as seed_everything,
)
from .viewer import (
    RolloutViewer as RolloutViewer,
)

__version__: str
