-- One step of the state machine per key. ARGV: a number that the reply repeats,
-- then four for each key: what, token, milliseconds, round.
-- Values: c<token> claimed, d.<mark> done, x<round>.<mark> dead; a mark is the
-- beginning of the token that made it.

local function try(...)
  local reply = redis.pcall(...)
  local failed = type(reply) == 'table' and reply.err
  return reply, failed
end

local function put(answer, key, value, ms)
  local _, failed = try('SET', key, value, 'PX', ms)
  return failed and 'error ' .. failed or answer
end

local function claim(key, now, ours, ms, round)
  if not now or now == ours then
    return put('claimed', key, ours, ms)
  end
  local state = string.sub(now, 1, 1)
  if state == 'd' then
    return 'done'
  elseif state == 'c' then
    local left, failed = try('PTTL', key)
    return failed and 'error ' .. failed or 'busy ' .. left
  end
  local buried = string.match(now, '^x(%d+)')
  if not buried then
    return 'error the key holds what no dedup store wrote'
  elseif tonumber(round) > tonumber(buried) then
    return put('claimed', key, ours, ms)
  end
  return 'dead'
end

local function step(key, what, token, ms, round)
  local now, failed = try('GET', key)
  if failed then
    return 'error ' .. failed
  end
  local ours = 'c' .. token
  if what == 'claim' then
    return claim(key, now, ours, ms, round)
  end
  local mark = '.' .. string.sub(token, 1, 8)
  local made = what == 'complete' and 'd' .. mark or what == 'bury' and 'x' .. round .. mark
  if made then
    if now == ours then
      return put('yes', key, made, ms)
    end
    return now == made and 'yes' or 'no'
  elseif now ~= ours then
    return 'no'
  elseif what == 'renew' then
    failed = select(2, try('PEXPIRE', key, ms))
  else
    failed = select(2, try('DEL', key))
  end
  return failed and 'error ' .. failed or 'yes'
end

local answers = { ARGV[1] }
for i, key in ipairs(KEYS) do
  local at = 4 * i - 2
  answers[i + 1] = i .. ' ' .. step(key, ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
return answers
