-- The id of the event that has ended the run, or ''. Appends nothing.

return final_id(redis.call('HGET', meta, 'final')) or ''
