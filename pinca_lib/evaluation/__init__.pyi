from .applicability import (
    doubts as doubts,
)
from .healing import (
    healing_errors as healing_errors,
)
from .metrics import (
    ScaledPhysicsMetrics as ScaledPhysicsMetrics,
)
from .scoring import (
    CALM as CALM,
)
from .scoring import (
    HIT_RATE_D as HIT_RATE_D,
)
from .scoring import (
    HIT_RATE_W as HIT_RATE_W,
)
from .scoring import (
    NEAR as NEAR,
)
from .scoring import (
    ROUNDING as ROUNDING,
)
from .scoring import (
    MeanFlow as MeanFlow,
)
from .scoring import (
    correlation as correlation,
)
from .scoring import (
    direction_error as direction_error,
)
from .scoring import (
    distance_to_buildings as distance_to_buildings,
)
from .scoring import (
    evaluate as evaluate,
)
from .scoring import (
    fac2 as fac2,
)
from .scoring import (
    hit_rate as hit_rate,
)
from .scoring import (
    layout_distance as layout_distance,
)
from .scoring import (
    median as median,
)
from .scoring import (
    r2 as r2,
)
from .scoring import (
    relative_l2 as relative_l2,
)
from .scoring import (
    scores as scores,
)
from .scoring import (
    violations as violations,
)
from .scoring import (
    with_median as with_median,
)
