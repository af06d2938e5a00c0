from .figures import (
    Dashboard as Dashboard,
    air_plane as air_plane,
    colour_map as colour_map,
    colour_range as colour_range,
    describe as describe,
    draw_plane as draw_plane,
    error_of as error_of,
    moving_mean as moving_mean,
    plot_batch as plot_batch,
    plot_channels as plot_channels,
    plot_comparison as plot_comparison,
    plot_losses as plot_losses,
    plot_physics as plot_physics,
    plot_pool as plot_pool,
    plot_progress as plot_progress,
    plot_scaling as plot_scaling,
    plot_scores as plot_scores,
    plot_speed as plot_speed,
)
from .film import (
    draw_film as draw_film,
    write_film as write_film,
)
from .maps import (
    plot_change as plot_change,
    plot_classes as plot_classes,
    plot_directions as plot_directions,
    plot_error as plot_error,
    plot_place as plot_place,
    plot_wind as plot_wind,
)
from .score_figures import (
    plot_cases as plot_cases,
    plot_costs as plot_costs,
    plot_hit_rates as plot_hit_rates,
    plot_over as plot_over,
    plot_sweep as plot_sweep,
    table as table,
)
from .tunnel_figures import (
    plot_tunnel_maps as plot_tunnel_maps,
    plot_tunnel_scatter as plot_tunnel_scatter,
)
