"""Where the plugin begins: your class, and the contract's exports for it."""

from my_plugin import MyPlugin
from whimbrel import collector

Lifecycle, Collect = collector(MyPlugin)
