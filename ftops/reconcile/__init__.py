"""Makes the world as the specs say: observe, plan, apply, write back; the only room that acts."""
