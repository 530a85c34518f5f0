-- Lets a request wait while the map says that the gate is held: haproxy has nothing else that keeps
-- a request and sends it on later. Where its patience ends, the variable `txn.gate_late` says so.

local ASK_AGAIN_MS = 1
local patience_s = tonumber(os.getenv("GATE_PATIENCE_S"))
local map = Map.new("haproxy.map", Map._str)

core.register_action("wait_while_held", { "http-req" }, function(txn)
    local late = core.now().sec + patience_s
    while map:lookup("side") == "held" do
        if core.now().sec > late then
            txn:set_var("txn.gate_late", true)
            return
        end
        core.msleep(ASK_AGAIN_MS)
    end
end)
