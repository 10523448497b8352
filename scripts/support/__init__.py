"""Test the package with the oldest and the newest versions of everything that it depends on."""
