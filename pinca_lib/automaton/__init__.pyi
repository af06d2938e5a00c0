from .coarse import (
    block_means as block_means,
)
from .coarse import (
    block_sums as block_sums,
)
from .coarse import (
    in_blocks as in_blocks,
)
from .coarse import (
    shares_of_air as shares_of_air,
)
from .coarse import (
    spread as spread,
)
from .rule import (
    CA as CA,
)
from .rule import (
    FILTERS as FILTERS,
)
from .rule import (
    MEMORY_LIMIT as MEMORY_LIMIT,
)
from .rule import (
    bounded as bounded,
)
from .rule import (
    filters_on as filters_on,
)
from .rule import (
    perceive as perceive,
)
from .wind_frame import (
    ACROSS as ACROSS,
)
from .wind_frame import (
    against as against,
)
from .wind_frame import (
    halves as halves,
)
from .wind_frame import (
    heading as heading,
)
from .wind_frame import (
    is_odd as is_odd,
)
from .wind_frame import (
    mirrored as mirrored,
)
from .wind_frame import (
    mirrored_perception as mirrored_perception,
)
from .wind_frame import (
    turned as turned,
)
from .wind_frame import (
    turned_perception as turned_perception,
)
from .wind_frame import (
    wind_direction as wind_direction,
)
