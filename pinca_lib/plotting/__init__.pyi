from .figures import (
    Dashboard as Dashboard,
)
from .figures import (
    air_plane as air_plane,
)
from .figures import (
    colour_map as colour_map,
)
from .figures import (
    colour_range as colour_range,
)
from .figures import (
    describe as describe,
)
from .figures import (
    draw_plane as draw_plane,
)
from .figures import (
    error_of as error_of,
)
from .figures import (
    moving_mean as moving_mean,
)
from .figures import (
    plot_batch as plot_batch,
)
from .figures import (
    plot_channels as plot_channels,
)
from .figures import (
    plot_comparison as plot_comparison,
)
from .figures import (
    plot_losses as plot_losses,
)
from .figures import (
    plot_physics as plot_physics,
)
from .figures import (
    plot_pool as plot_pool,
)
from .figures import (
    plot_progress as plot_progress,
)
from .figures import (
    plot_scaling as plot_scaling,
)
from .figures import (
    plot_scores as plot_scores,
)
from .figures import (
    plot_speed as plot_speed,
)
from .film import (
    draw_film as draw_film,
)
from .film import (
    rollout_frames as rollout_frames,
)
from .film import (
    steps_before as steps_before,
)
from .film import (
    write_film as write_film,
)
from .score_figures import (
    plot_cases as plot_cases,
)
from .score_figures import (
    plot_costs as plot_costs,
)
from .score_figures import (
    plot_hit_rates as plot_hit_rates,
)
from .score_figures import (
    plot_over as plot_over,
)
from .score_figures import (
    table as table,
)
