from .applicability import (
    doubts as doubts,
)
from .error_bars import (
    SHARE as SHARE,
    ErrorBars as ErrorBars,
    coverage as coverage,
    features as features,
    mean_of as mean_of,
)
from .healing import (
    healing_errors as healing_errors,
)
from .measured import (
    MeasuredCase as MeasuredCase,
    Openness as Openness,
    at_probes as at_probes,
    compare as compare,
    errors_at_probes as errors_at_probes,
    level as level,
    measured_cases as measured_cases,
    predicted_speeds as predicted_speeds,
)
from .metrics import (
    CALM as CALM,
    HIT_RATE_D as HIT_RATE_D,
    HIT_RATE_W as HIT_RATE_W,
    METRICS as METRICS,
    NEAR as NEAR,
    ROUNDING as ROUNDING,
    MeanFlow as MeanFlow,
    correlation as correlation,
    direction_error as direction_error,
    distance_to_buildings as distance_to_buildings,
    evaluate as evaluate,
    fac2 as fac2,
    hit_rate as hit_rate,
    layout_distance as layout_distance,
    median as median,
    r2 as r2,
    relative_l2 as relative_l2,
    scores as scores,
    violations as violations,
    with_median as with_median,
)
from .scaled_metrics import (
    ScaledPhysicsMetrics as ScaledPhysicsMetrics,
)
from .unlikeness import (
    doubt_table as doubt_table,
    doubtful as doubtful,
    unlike_training as unlike_training,
)
