"""From a raw FIB-SEM stack to a measured structure: registration and what follows it."""

from bimmjax.fib._register.field import common_field as common_field
from bimmjax.fib._register.field import drop_slices as drop_slices
from bimmjax.fib._register.field import move_slices as move_slices
from bimmjax.fib._register.onto import register_onto as register_onto
from bimmjax.fib._register.registration import Registration as Registration
from bimmjax.fib._register.stack import register_stack as register_stack
from bimmjax.fib._register.tilt import untilt as untilt
from bimmjax.fib._register.translation import translation as translation
