"""Doors whose clients send requests: MQTT, HTTP, and a folder of triggers.

    desk = Desk(settings, heard, deliver=lambda entry: ...)
    answer = await desk.inspect(TriggerRequest(trigger_number=17, part_id="cell-17"))

`messages` has what clients send and get, `desk` plays the PLC's side for all of them, and `ledger`
remembers the latest requests on disk, so that a repeated one gets its first answer.
"""
