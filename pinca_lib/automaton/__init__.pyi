from .coarse import (
    block_means as block_means,
    block_sums as block_sums,
    in_blocks as in_blocks,
    shares_of_air as shares_of_air,
    spread as spread,
)
from .rule import (
    CA as CA,
    FILTERS as FILTERS,
    HIDDEN_LIMIT as HIDDEN_LIMIT,
    bounded as bounded,
    filters_on as filters_on,
    perceive as perceive,
)
from .wind_frame import (
    ACROSS as ACROSS,
    even_and_odd as even_and_odd,
    heading as heading,
    is_odd as is_odd,
    mirrored as mirrored,
    mirrored_perception as mirrored_perception,
    reverse as reverse,
    rotated as rotated,
    rotated_perception as rotated_perception,
    wind_direction as wind_direction,
)
