-- Health of a DtoolBucket or a DtoolDataset for Argo CD (docs/gitops.md).
-- Argo CD gives the object as `obj`; no library is needed. An object that is being deleted never comes here.

local function find_condition(name)
  for _, condition in ipairs((obj.status or {}).conditions or {}) do
    if condition.type == name then
      return condition
    end
  end
  return {}
end

local function health(status, message)
  return { status = status, message = message or "" }
end

local function explain(condition)
  return condition.reason .. ": " .. (condition.message or "")
end

local status = obj.status or {}
local ready = find_condition("Ready")

-- what was said of another spec counts no more; 0: nobody has looked yet
if ready.status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "The operator has not looked at this spec yet.")
end
if ready.status == "True" then
  return health("Healthy", ready.message)
end
if ready.reason == "Suspended" then
  return health("Suspended", ready.message)
end
-- only an edit helps; or a frozen dataset is not what it was
if find_condition("Stalled").status == "True" or status.state == "Damaged" then
  return health("Degraded", explain(ready))
end
return health("Progressing", explain(ready))
