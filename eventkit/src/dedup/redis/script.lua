-- One step of the state machine per key. ARGV: a number that the reply repeats,
-- then three for each key: what (for a claim and a burial with its round), token,
-- milliseconds. The reply is one text, a line for the number and one for each key.
-- Values: c<token> claimed, d.<mark> done, x<round>.<mark> dead; a mark is the
-- beginning of the token that made it.

local pcall, sub, match = redis.pcall, string.sub, string.match

local function failure(reply)
  return type(reply) == 'table' and reply.err
end

local function error_of(reply)
  local text = string.gsub(reply.err, '%s', ' ')
  return 'error ' .. text
end

local function put(answer, key, value, ms)
  local reply = pcall('SET', key, value, 'PX', ms)
  return failure(reply) and error_of(reply) or answer
end

local function claim(key, ours, ms, round)
  local fresh = pcall('SET', key, ours, 'NX', 'PX', ms)
  if failure(fresh) then
    return error_of(fresh)
  elseif fresh then
    return 'claimed'
  end
  local now = pcall('GET', key)
  if failure(now) then
    return error_of(now)
  elseif now == ours then
    return put('claimed', key, ours, ms)
  end
  local state = sub(now, 1, 1)
  if state == 'd' then
    return 'done'
  elseif state == 'c' then
    local left = pcall('PTTL', key)
    return failure(left) and error_of(left) or 'busy ' .. left
  end
  local buried = match(now, '^x(%d+)')
  if not buried then
    return 'error the key holds what no dedup store wrote'
  elseif tonumber(round) > tonumber(buried) then
    return put('claimed', key, ours, ms)
  end
  return 'dead'
end

local function step(key, what, token, ms)
  local ours, kind = 'c' .. token, sub(what, 1, 1)
  if kind == 'c' then
    return claim(key, ours, ms, sub(what, 2))
  end
  local now = pcall('GET', key)
  if failure(now) then
    return error_of(now)
  end
  local made = kind == 'd' and 'd.' or kind == 'x' and what .. '.'
  if made then
    made = made .. sub(token, 1, 8)
    if now == ours then
      return put('yes', key, made, ms)
    end
    return now == made and 'yes' or 'no'
  elseif now ~= ours then
    return 'no'
  end
  local reply
  if kind == 'r' then
    reply = pcall('PEXPIRE', key, ms)
  else
    reply = pcall('DEL', key)
  end
  return failure(reply) and error_of(reply) or 'yes'
end

local answers = { ARGV[1] }
for i = 1, #KEYS do
  local at = 3 * i - 1
  answers[i + 1] = step(KEYS[i], ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
return table.concat(answers, '\n')
